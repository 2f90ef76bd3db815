import os, sys, pytest
from tests.seckill.test_schedules import *
FROM=int(os.environ.get("FROM","0")); MOST=int(os.environ.get("MOST","120"))
ONLY=os.environ.get("ONLY","")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", list(MUTANTS)+["judge "+n for n in JUDGE])
def test_search(stage, name, request):
    if ONLY and ONLY not in name: pytest.skip()
    judge = name.startswith("judge ") and name[6:] in JUDGE
    with pytest.MonkeyPatch.context() as patch:
        ctx = nullcontext()
        if judge:
            b=JUDGE[name[6:]]; b.premise(patch); b.guard_off(patch)
            if b.unconstrained: ctx=sales_unconstrained()
        else: MUTANTS[name][1](patch)
        with ctx:
            for seed in range(FROM, FROM+MOST):
                try: play(seed, stage, trusted=not judge)
                except Exception as e:
                    print("\nFOUND", name, seed, type(e).__name__, str(e)[:100], flush=True); return
            print("\nNONE", name, flush=True)

"""A supervisor of toy processes, run as a program so that tests can signal and kill it.

`python -m tests.site.toy_supervisor VAR_DIR JSON`, JSON being a list of {name, code, stop_seconds}. A toy gets its
own name and the data folder as arguments; it is ready when it has written its id into `<name>.ready` there.
"""

import json
import sys
from pathlib import Path

from shop.site.supervision.keeping import DemoRuns
from shop.site.supervision.processes import ProcessSpec
from shop.site.supervision.readiness import FileSaysSo
from shop.site.supervision.stopping import StopRequested, StopSignals
from shop.site.supervisor import StartFailed, Supervisor


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201


def toy_spec(toy: dict, var_dir: Path) -> ProcessSpec:
    """Return how to run one toy."""
    return ProcessSpec(
        name=toy["name"],
        command=(sys.executable, "-I", "-S", "-c", toy["code"], toy["name"], str(var_dir)),
        ready=FileSaysSo(var_dir / f"{toy['name']}.ready"),
        stop_seconds=toy.get("stop_seconds", 5),
        ready_seconds=toy.get("ready_seconds", 20),
    )


def main() -> int:
    """Supervise the toys, one after the other, until a signal comes."""
    var_dir = Path(sys.argv[1])
    specs = [toy_spec(toy, var_dir) for toy in json.loads(sys.argv[2])]
    try:
        with (
            StopSignals() as signals,
            Supervisor(var_dir=var_dir, directory=var_dir, signals=signals, say=say) as it,
        ):
            for spec in specs:
                it.start([spec])
            say("all ready")
            it.run()
    except StopRequested:
        say("stopped early")
    except (StartFailed, DemoRuns) as error:
        say(str(error))
        return 1
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())

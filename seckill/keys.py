"""Names of everything the sale keeps in Valkey; all keys of a shard carry its tag, so a cluster keeps them together."""

SHARD = 0


def shard_key(shard: int = SHARD) -> str:
    """Hash: boot, open, open_max."""
    return f"{{s{shard}}}:shard"


def campaign_key(campaign_id: int, shard: int = SHARD) -> str:
    """Hash: the campaign's rules and counters."""
    return f"{{s{shard}}}:c:{campaign_id}"


def users_key(campaign_id: int, shard: int = SHARD) -> str:
    """Hash: user id to packed 24-byte records."""
    return f"{{s{shard}}}:u:{campaign_id}"


def outbox_key(shard: int = SHARD) -> str:
    """Stream: one entry a campaign and batch, until every reservation in it has an outcome."""
    return f"{{s{shard}}}:outbox"

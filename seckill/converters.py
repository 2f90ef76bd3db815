"""How the sale's ids stand in addresses."""


class CampaignIdConverter:
    """A campaign's number: what a 64-bit key holds, without leading zeros; the lane reads the same."""

    regex = "[1-9][0-9]{0,17}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)

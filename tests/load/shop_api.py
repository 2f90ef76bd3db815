"""The few calls that the driver makes outside the load itself: live numbers, status polls, metrics."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

CALL_SECONDS = 5.0
API = "/api/v1/seckill"


def reservations_path(campaign_id: int) -> str:
    """Return the path that takes reservations."""
    return f"{API}/campaigns/{campaign_id}/reservations/"


class ShopApi:
    """A blocking client with one kept-alive connection; for one thread."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(target.hostname or "127.0.0.1", target.port, timeout=CALL_SECONDS)

    def get(self, path: str, *, token: str = "") -> tuple[int, bytes]:
        """Return status and body.

        :raises OSError: no answer
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._connection.request("GET", path, headers=headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            self.close()
            raise OSError(f"no answer to GET {path}: {error!r}") from error
        except OSError:
            self.close()
            raise

    def get_json(self, path: str, *, token: str = "") -> dict[str, Any] | None:
        """Return the JSON object of a 200, None of any other answer."""
        status, body = self.get(path, token=token)
        found = json.loads(body) if status == 200 else None
        return found if isinstance(found, dict) else None

    def live(self, campaign_id: int) -> dict[str, Any] | None:
        """Return the live numbers: `left`, `state` and more."""
        return self.get_json(f"{API}/campaigns/{campaign_id}/live/")

    def reservation(self, reservation_id: str, *, token: str) -> dict[str, Any] | None:
        """Return the status of one reservation of the token's user."""
        return self.get_json(f"{API}/reservations/{reservation_id}/", token=token)

    def close(self) -> None:
        """Let the connection go; the next call opens another."""
        self._connection.close()

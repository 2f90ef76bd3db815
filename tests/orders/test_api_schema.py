"""The OpenAPI description of orders and payments."""

import pytest
from drf_spectacular.generators import SchemaGenerator


@pytest.fixture(scope="module")
def paths():
    return SchemaGenerator().get_schema(request=None, public=True)["paths"]


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/api/v1/orders/", "get", {"200", "401", "404", "406"}),
        ("/api/v1/orders/{number}/", "get", {"200", "401", "404", "406"}),
        (
            "/api/v1/orders/{number}/pay/",
            "post",
            {"200", "400", "401", "404", "406", "409", "415", "422", "503"},
        ),
        ("/api/v1/orders/{number}/cancel/", "post", {"200", "401", "404", "406", "409"}),
        (
            "/api/v1/payments/callback/{provider}/",
            "post",
            {"200", "400", "401", "404", "406", "422"},
        ),
    ],
)
def test_every_answer_is_described_with_an_example(paths, path, method, statuses):
    operation = paths[path][method]

    assert set(operation["responses"]) == statuses
    for status, response in operation["responses"].items():
        media = response["content"]["application/json"]
        assert media.get("examples"), f"{method} {path} {status} has no example"


def test_the_callback_needs_no_token(paths):
    assert paths["/api/v1/payments/callback/{provider}/"]["post"].get("security", [{}]) == [{}]
    assert paths["/api/v1/orders/"]["get"]["security"] == [{"jwtAuth": []}]

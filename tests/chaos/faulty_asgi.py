"""`shop.asgi` with the named points of the kill tests; granian starts it as `tests.chaos.faulty_asgi:application`."""

from shop.asgi import application
from tests.chaos.faults import faults_of_environment
from tests.chaos.faulty_web import install

__all__ = ["application"]

install(faults_of_environment())

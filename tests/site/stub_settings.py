"""Settings of the stub demo: those of the demo, without the applications, whose start the tests do not wait for."""

from shop.settings.development import *  # noqa: F403

INSTALLED_APPS = []
ROOT_URLCONF = "tests.site.stub_application"

"""Plain WSGI entry: every page and the API's DRF views, without the lane."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.development")

application = get_wsgi_application()

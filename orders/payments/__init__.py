"""Payment providers behind one interface; those that come with the shop are registered here."""

from orders.payments.provider import provider_register
from orders.payments.sandbox import NAME, sandbox_from_settings

provider_register(NAME, sandbox_from_settings)

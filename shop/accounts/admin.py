"""Accounts in the admin."""

from django.contrib import admin
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from shop.accounts.models import Address, User


class AddressInline(admin.StackedInline):
    """The user's addresses, on the user's page."""

    model = Address
    extra = 0
    fields = ("recipient", "phone", "region", "street", "postal_code", "is_default")


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Users with the shop's own fields beside Django's."""

    inlines = (AddressInline,)
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), (_("Shop"), {"fields": ("language", "time_zone")}))
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("username", "email", "usable_password", "password1", "password2"),
            },
        ),
    )
    list_display = ("username", "email", "is_staff", "is_active", "date_joined")
    readonly_fields = ("last_login", "date_joined")
    show_full_result_count = False

    def get_inlines(self, request: HttpRequest, obj: User | None) -> tuple[type[InlineModelAdmin], ...]:
        """Leave addresses out of the form that makes a user."""
        return self.inlines if obj is not None else ()

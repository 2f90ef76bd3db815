"""Pages to register, log in and log out; plain forms, no script needed."""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from shop.accounts.forms import RegisterForm


@method_decorator([sensitive_post_parameters("password"), never_cache], name="dispatch")
class RegisterView(auth_views.RedirectURLMixin, FormView):
    """Make an account, log in, and go on to `next` when it is an address of this site."""

    template_name = "accounts/register.html"
    form_class = RegisterForm

    def get_default_redirect_url(self) -> str:
        """Return where to go without a `next`."""
        return resolve_url(settings.LOGIN_REDIRECT_URL)

    def form_valid(self, form: RegisterForm) -> HttpResponse:
        """Register and log in, or show the refusals beside the fields."""
        user = form.register(now=timezone.now())
        if user is None:
            return self.form_invalid(form)
        login(self.request, user)
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the checked `next`, which the page hands on."""
        return super().get_context_data(next=self.get_redirect_url(), **kwargs)


class LoginView(auth_views.LoginView):
    """Log in with user name and password; one answer for every wrong pair, unknown names included."""

    template_name = "accounts/login.html"


class LogoutView(auth_views.LogoutView):
    """Ask on GET, so that no link or image logs anybody out; log out on POST."""

    http_method_names = ["get", "post", "options"]
    template_name = "accounts/logout.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the question."""
        return render(request, self.template_name, {"next": self.get_redirect_url()})

"""Who is asking: the signed-in user, never a name from a body."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


def caller_id(user: AbstractBaseUser | AnonymousUser) -> int:
    """Return the user's id.

    :raises TypeError: nobody is signed in; the view lacks its guard. Orders without an account are nobody's
    """
    if user.pk is None:
        raise TypeError("a view of one user's orders is open to anonymous callers")
    return int(user.pk)

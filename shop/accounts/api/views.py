"""The accounts API."""

from typing import Any

from django.utils import timezone
from django.utils.translation import get_language
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from shop.accounts.api import refusals
from shop.accounts.api.serializers import (
    AccessToken,
    RefreshInput,
    RegisterInput,
    TokenInput,
    TokenPair,
    UserOutput,
)
from shop.accounts.services import user_register

_USER = {
    "id": "17",
    "username": "mei",
    "email": "mei@example.com",
    "language": "zh-hans",
    "time_zone": "Asia/Shanghai",
    "date_joined": "2026-06-18T04:00:00Z",
}


class RegisterView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="accounts_register",
        tags=["accounts"],
        summary="Make an account",
        request=RegisterInput,
        auth=[],
        examples=[
            OpenApiExample(
                "a new shopper",
                value={"username": "mei", "email": "mei@example.com", "password": "paper-lantern-42"},
                request_only=True,
            )
        ],
        responses={
            201: OpenApiResponse(UserOutput, examples=[OpenApiExample("made", value=_USER)]),
            422: refusals.refusal(
                "A value is not acceptable or taken.",
                code="invalid",
                message="Some values are not acceptable.",
                extra={
                    "fields": {"username": ["This user name is taken."]},
                    "codes": {"username": ["accounts.username_taken"]},
                },
            ),
            **refusals.UNREADABLE,
        },
    )
    def post(self, request: Request) -> Response:
        """Make an account that can log in at once; there is no e-mail step."""
        body = RegisterInput(data=request.data)
        body.is_valid(raise_exception=True)
        user = user_register(**body.validated_data, language=get_language() or "zh-hans", now=timezone.now())
        return Response(UserOutput(user).data, status=status.HTTP_201_CREATED)


class TokenView(TokenObtainPairView):
    serializer_class = TokenInput

    @extend_schema(
        operation_id="accounts_token",
        tags=["accounts"],
        summary="Log in",
        request=TokenInput,
        auth=[],
        examples=[
            OpenApiExample(
                "log in", value={"username": "mei", "password": "paper-lantern-42"}, request_only=True
            )
        ],
        responses={
            200: OpenApiResponse(
                TokenPair, examples=[OpenApiExample("tokens", value={"access": "eyJ…", "refresh": "eyJ…"})]
            ),
            401: refusals.refusal(
                "Unknown name, wrong password or blocked account; which one is not told.",
                code="not_authenticated",
                message="The credentials are wrong or expired.",
            ),
            422: refusals.refusal(
                "A field is missing or no text.",
                code="invalid",
                message="Some values are not acceptable.",
                extra={"fields": {"password": ["This field is required."]}},
            ),
            **refusals.UNREADABLE,
        },
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Get an access token, valid for 15 minutes, and a refresh token, valid for 14 days."""
        return super().post(request, *args, **kwargs)


class RefreshView(TokenRefreshView):
    serializer_class = RefreshInput

    @extend_schema(
        operation_id="accounts_token_refresh",
        tags=["accounts"],
        summary="Renew the access token",
        request=RefreshInput,
        auth=[],
        examples=[OpenApiExample("renew", value={"refresh": "eyJ…"}, request_only=True)],
        responses={
            200: OpenApiResponse(AccessToken, examples=[OpenApiExample("renewed", value={"access": "eyJ…"})]),
            401: refusals.refusal(
                "The refresh token is not valid any more, or its account is blocked or gone.",
                code="not_authenticated",
                message="The credentials are wrong or expired.",
            ),
            422: refusals.refusal(
                "The field is missing or no text.",
                code="invalid",
                message="Some values are not acceptable.",
                extra={"fields": {"refresh": ["This field is required."]}},
            ),
            **refusals.UNREADABLE,
        },
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Exchange a refresh token for a new access token."""
        return super().post(request, *args, **kwargs)


class MeView(APIView):
    @extend_schema(
        operation_id="accounts_me",
        tags=["accounts"],
        summary="Who am I",
        responses={
            200: OpenApiResponse(UserOutput, examples=[OpenApiExample("me", value=_USER)]),
            **refusals.NOT_AUTHENTICATED,
            **refusals.NOT_ACCEPTABLE,
        },
    )
    def get(self, request: Request) -> Response:
        """Return the account of the access token."""
        return Response(UserOutput(request.user).data)

"""Who am I, and is this card's metadata valid?"""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import cards
from hub_tools.hub.server.http import Call, route


class _Card(BaseModel):
    content: str
    repoType: str = "model"  # noqa: N815 - the wire's name


def whoami(call: Call) -> Response:
    """Say whose token this is and what it allows."""
    user = call.viewer.require_user()
    token = {"displayName": "embedded Hub", "role": call.viewer.role}
    answer = {
        "type": "user",
        "id": user,
        "name": user,
        "fullname": user,
        "isPro": False,
        "canPay": False,
        "orgs": [
            {
                "type": "org",
                "name": org,
                "fullname": org,
                "roleInOrg": call.viewer.role,
                "isEnterprise": False,
            }
            for org in call.viewer.orgs
        ],
        "auth": {"type": "access_token", "accessToken": token},
    }
    return JSONResponse(answer)


def validate_yaml(call: Call) -> Response:
    """Check a card before it is pushed; clients show the message of a 400."""
    card = call.parse(_Card)
    try:
        found = cards.metadata(card.content)
        cards.check(found)
    except cards.CardError as error:
        problem = [{"message": str(error)}]
        return JSONResponse({"error": str(error), "errors": problem, "warnings": []}, 400)
    empty = [{"message": "empty or missing yaml metadata in repo card"}]
    return JSONResponse({"errors": [], "warnings": [] if found else empty})


def store_identity(call: Call) -> Response:
    """Tell which store this server holds, so that a starter can recognise its own."""
    return JSONResponse({"store": call.store.id, "pid": call.request.app.state.pid})


ROUTES = [
    route("/api/whoami-v2", whoami),
    route("/api/validate-yaml", validate_yaml, ["POST"]),
    route("/_store", store_identity),
]

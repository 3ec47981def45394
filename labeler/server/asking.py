"""What routes are given: the desk, who asks, which session."""

from typing import Annotated, cast

from fastapi import Depends, Query, Request

from labeler.door import Visitor
from labeler.server.desk import Desk
from labeler.server.guard import Refusal
from labeler.server.wire import HIGHEST


async def _desk(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)  # app.state holds anything


async def _visitor(request: Request) -> Visitor:
    return cast(Visitor, request.scope["labeler.visitor"])  # put there by the guard


async def _owner(request: Request) -> Visitor:
    visitor = await _visitor(request)
    if not visitor.owner:
        raise Refusal(403, "Only the owner may do this.", "Ask whoever gave you the link.")
    return visitor


async def _reviewer(request: Request) -> Visitor:
    visitor = await _visitor(request)
    if visitor.role == "swipe":
        raise Refusal(403, "Only the owner and reviewers may do this.", "Ask whoever gave you the link.")
    return visitor


async def _named(
    session: Annotated[
        int | None,
        Query(
            ge=1,
            le=HIGHEST,
            description="Which session. Left out: that of the link by which one came, else the newest.",
        ),
    ] = None,
) -> int | None:
    return session


async def _session(request: Request, named: Annotated[int | None, Depends(_named)]) -> int | None:
    return named or (await _visitor(request)).session


DeskDep = Annotated[Desk, Depends(_desk)]
VisitorDep = Annotated[Visitor, Depends(_visitor)]
ReviewerDep = Annotated[Visitor, Depends(_reviewer)]
OwnerDep = Annotated[Visitor, Depends(_owner)]
NamedDep = Annotated[int | None, Depends(_named)]
"""The session that a request names; None: none."""
SessionDep = Annotated[int | None, Depends(_session)]
"""The session that is meant; None: the newest."""

"""The members of the consumer group, as an operator sees them, and how one that is gone for good is removed before its session ends."""

from contextlib import closing
from typing import Any

from kafka.admin import MemberToRemove
from kafka.errors import GroupAuthorizationFailedError, GroupIdNotFoundError, NoError, UnknownMemberIdError

from monitor.errors import LogError, OwnedElsewhere
from monitor.log.kafka.asking import Asking
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.refusals import ACLS, reason_and_remedy


def remove_static_member(connection: Connection, group_id: str, instance_id: str) -> None:
    """Its partitions go to the others at once. Raises `LogError` where there is no such group or no such member, and says who there is."""
    with closing(Asking(connection)) as asking:
        members = _members(asking, group_id)
        if members is None:
            raise LogError(
                f"there is no group {group_id}: that is log.topic_prefix and log.group, nothing between. It comes into being when the "
                "first `model-monitor watch` joins it"
            )
        known = [member["group_instance_id"] for member in members if member["group_instance_id"] is not None]
        if instance_id not in known:
            there = f"its static members are {', '.join(sorted(known))}" if known else "it has no static members"
            raise LogError(
                f"the group {group_id} has no member with the instance id {instance_id}: {there}. It may have expired already; members "
                "without an instance id leave by themselves"
            )
        member = MemberToRemove(group_instance_id=instance_id, reason="removed with model-monitor group remove")
        removed = asking.ask(
            f"removing {instance_id} from the group {group_id}", lambda admin: admin.remove_group_members(group_id, [member])
        )
        (error,) = removed.values()
    if error not in {NoError, UnknownMemberIdError}:  # unknown: it went by itself meanwhile
        raise LogError(f"{instance_id} cannot be removed from the group {group_id}: {reason_and_remedy(error())}") from error()


def refuse_company(connection: Connection, group_id: str) -> None:
    """Raises `OwnedElsewhere` where the group has a member."""
    with closing(Asking(connection)) as asking:
        members = [f"{member['client_id']} on {member['client_host']}" for member in _members(asking, group_id) or ()]
    if members:
        raise OwnedElsewhere(
            f"the group {group_id} has members already: {', '.join(members)}. Stop them first; one that was killed is gone when its "
            "session ends"
        )


def _members(asking: Asking, group_id: str) -> list[dict[str, Any]] | None:
    """Those of the group; None where there is no such group. Raises `LogError`."""
    group = asking.ask(f"looking who is in the group {group_id}", lambda admin: admin.describe_groups([group_id]))[group_id]
    error: str | None = group["error"]
    if group["group_state"] == "Dead" and (error is None or GroupIdNotFoundError.__name__ in error):
        return None
    if error is not None:
        remedy = f": grant this client Read on the group ({ACLS})" if GroupAuthorizationFailedError.__name__ in error else ""
        raise LogError(f"the group {group_id} cannot be looked up: {error}{remedy}")
    members: list[dict[str, Any]] = group["members"]
    return members

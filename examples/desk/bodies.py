"""What a client may send; msgspec checks it in both apps. Fields that the desk doesn't know are ignored."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Name = Annotated[str, Meta(min_length=1, max_length=80, pattern=r"^(?=.*\S)[^\x00-\x1f\x7f]+\Z")]
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
Color = Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}\Z")]
UserIds = Annotated[list[int], Meta(min_length=1, max_length=50)]


class NewLabel(Struct):
    title: Name
    color: Color = "#1f93ff"


class LabelChanges(Struct):
    title: Name | UnsetType = UNSET
    color: Color | UnsetType = UNSET


class NewInbox(Struct):
    name: Name
    channel_type: Name = "Channel::Api"


class InboxChanges(Struct):
    name: Name | UnsetType = UNSET
    channel_type: Name | UnsetType = UNSET


class NewTeam(Struct):
    name: Name
    description: Text = ""


class TeamChanges(Struct):
    name: Name | UnsetType = UNSET
    description: Text | UnsetType = UNSET


class Members(Struct):
    user_ids: UserIds

"""What requests and answers have in them."""

import datetime
from typing import Annotated

import pydantic

# As in the training table; a JSON true or 1.5 is none.
Id = pydantic.StrictInt | pydantic.StrictStr


class _Strict(pydantic.BaseModel):
  """A field that nothing reads is a mistake."""

  model_config = pydantic.ConfigDict(extra='forbid')


class Recommend(_Strict):
  """Lists for users, or for anybody with a history."""

  users: list[Id] | None = None
  histories: list[list[Id]] | None = pydantic.Field(
    None, description='Items of somebody, oldest first; one list each.'
  )
  k: int = pydantic.Field(20, ge=1)
  items: list[Id] | None = pydantic.Field(
    None, description='Items to choose from; all if left out.'
  )
  exclude: list[Id] = pydantic.Field(
    [], description='Items that are in no list, such as what is out of stock.'
  )
  exclude_seen: bool | None = pydantic.Field(
    None, description='Leave out what a user has; default: as evaluated.'
  )
  at_most: int = pydantic.Field(
    0, ge=0, description='Of a category in a list; 0 for any number.'
  )
  new_share: float = pydantic.Field(
    0.0, ge=0, le=1, description='Of places, for what a user has not touched.'
  )
  reasons: int = pydantic.Field(
    0, ge=0, description='Items of the history for each item, of some models.'
  )
  popular: bool = pydantic.Field(
    False, description='Whether unknown users get what is popular.'
  )


class Similar(_Strict):
  """Items near to others."""

  items: list[Id]
  k: int = pydantic.Field(20, ge=1)
  among: list[Id] | None = None
  exclude: list[Id] = []


class Scores(_Strict):
  """Scores of given items for one user, or for a history."""

  user: Id | None = None
  history: list[Id] | None = None
  items: list[Id]


class Event(_Strict):
  """Something a user did, which moves the user's state."""

  user: Id
  item: Id
  time: float | datetime.datetime = pydantic.Field(
    description='Unix seconds, or an ISO-8601 date; UTC without a zone.'
  )
  id: Id | None = pydantic.Field(
    None, description='Tells it from others; default: its item and time.'
  )

  @pydantic.field_validator('time')
  @classmethod
  def _seconds(cls, time: float | datetime.datetime) -> float:
    if isinstance(time, datetime.datetime):
      time = time.replace(tzinfo=time.tzinfo or datetime.UTC).timestamp()
    if not 0 <= time < float('inf'):
      raise ValueError('must be Unix seconds from 0 on, or a date')
    return time


class Events(_Strict):
  """Events that are acknowledged when they are stored, or not at all."""

  events: Annotated[list[Event], pydantic.Field(min_length=1)]


class Reason(pydantic.BaseModel):
  """An item of a history, and what it counts for an item of a list."""

  item: Id
  weight: float


class List(pydantic.BaseModel):
  """Items, best first, and their scores; of a user, or of an item."""

  of: Id | None = None
  items: list[Id]
  scores: list[float]
  source: str = pydantic.Field(
    default='model', description='model, or popular for an unknown user.'
  )
  reasons: list[list[Reason]] | None = pydantic.Field(
    default=None, description='Of each item, where they were asked for.'
  )


class Lists(pydantic.BaseModel):
  """A list for each that was asked for, in the same order."""

  model: str
  lists: list[List]


class Scored(pydantic.BaseModel):
  """Scores in the order of the items."""

  model: str
  scores: list[float]


class Played(pydantic.BaseModel):
  """What became of events; sent again, an event is `repeated`."""

  model: str
  accepted: int
  repeated: int
  late: int = pydantic.Field(description='Too old to be put in their place.')
  refused: int = pydantic.Field(description='Times that cannot be right.')
  unknown_items: int
  new_users: int

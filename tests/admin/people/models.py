"""Users of a project's own: with another primary key, and another name to log in with."""

import uuid
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models


class Person(AbstractBaseUser):
    """Somebody with an address."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    address = models.EmailField(unique=True)

    objects: ClassVar[models.Manager["Person"]] = models.Manager()

    USERNAME_FIELD = "address"

    def __str__(self) -> str:
        return self.address

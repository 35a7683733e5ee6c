"""The tables."""

from django.db import models


class Invoice(models.Model):
    """What handlers and views look at."""

    number = models.CharField(max_length=50)

    def __str__(self):
        return self.number

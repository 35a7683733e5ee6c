"""The tables."""

from typing import Any

from django.db import models


class Order(models.Model):
    """What somebody ordered, and whether it is paid."""

    UNPAID_TOPIC = "unpaid-orders"

    class Status(models.TextChoices):
        """What became of it."""

        UNPAID = "unpaid"
        PAID = "paid"
        EXPIRED = "expired"

    item = models.CharField(max_length=100)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.UNPAID)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Name it."""
        return f"order {self.pk}: {self.item}"

    def facts(self) -> dict[str, Any]:
        """Give what is shown as JSON."""
        return {"id": self.pk, "item": self.item, "status": self.status}

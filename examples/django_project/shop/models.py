"""Models of the shop."""

from typing import Any

from django.db import models


class Order(models.Model):
    """An order, and whether it is paid."""

    UNPAID_TOPIC = "unpaid-orders"

    class Status(models.TextChoices):
        """The state of an order."""

        UNPAID = "unpaid"
        PAID = "paid"
        EXPIRED = "expired"

    item = models.CharField(max_length=100)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.UNPAID)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Return its name."""
        return f"order {self.pk}: {self.item}"

    def facts(self) -> dict[str, Any]:
        """Return the fields that are shown as JSON."""
        return {"id": self.pk, "item": self.item, "status": self.status}

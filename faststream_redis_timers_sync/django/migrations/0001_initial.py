"""Creates no table: it registers the model, whose permissions the admin checks."""

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no types
    """The unmanaged model."""

    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Timer",
            fields=[("key", models.TextField(primary_key=True, serialize=False))],
            options={
                "verbose_name": "timer",
                "verbose_name_plural": "timers",
                "managed": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
                "default_permissions": ("view", "change", "delete"),
            },
        ),
    ]

from django.apps import AppConfig


class HoldfastConfig(AppConfig):
    name = "holdfast"

    def ready(self) -> None:
        from holdfast import celery  # noqa: F401 - whoever rings a bell needs the configured app

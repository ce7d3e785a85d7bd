"""The status page: models, readings, sparklines and links, as one plain HTML document without a script."""

from monitor.export.page.status_page import StatusPage

__all__ = ["StatusPage"]

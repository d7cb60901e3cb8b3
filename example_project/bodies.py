"""What a plain Django view finds in a request's body."""

import json

from django.http import HttpRequest


def read(request: HttpRequest) -> dict[str, object]:
    """Parse a JSON object; anything else has no fields."""
    try:
        data = json.loads(request.body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}

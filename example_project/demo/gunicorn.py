"""Gunicorn's settings for the demo (`gunicorn --config python:example_project.demo.gunicorn`)."""

wsgi_app = "example_project.wsgi:application"
worker_class = "gthread"
threads = 4
# Several demos may run at once; gunicorn's control socket has one address for each user.
control_socket_disable = True

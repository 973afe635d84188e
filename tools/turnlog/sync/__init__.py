"""Delivery: a pure planner says what to send, an engine around it sends and writes down what came of it."""

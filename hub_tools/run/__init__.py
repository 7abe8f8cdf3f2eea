"""Runs a recipe: graph, runner, journal, publishing."""

"""Trainings on TRL: data views, methods, one train() and the folder that gets published."""

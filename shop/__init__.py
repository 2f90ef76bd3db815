"""The project package: its root files join the apps, its folders are the lower storeys."""

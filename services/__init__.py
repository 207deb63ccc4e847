"""The processes of the mesh, one folder each. They know each other only by their protos."""

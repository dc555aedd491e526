package shardmap

import "pgregory.net/rapid"

func snapshotInto(t *rapid.T, c *SlotCopy, m *Map) {}

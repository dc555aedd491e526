package clienttest

import (
	"muster/logstore"
	"muster/logstore/vfs"
)

// StoppedClean reports whether the data of a node says that it was stopped in good order.
func (c *Cluster) StoppedClean(i int) bool {
	id, ok, err := logstore.ReadIdentity(vfs.OS{}, c.members[i].config.Data)
	return err == nil && ok && id.Stopped > 0
}

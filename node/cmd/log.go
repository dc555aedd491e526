package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/node"
	"muster/raft"
)

func logCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "log", Usage: "look at the logs of nodes, on their disks or while they run"},
		logShowCommand(con), logDiffCommand(con), logVerifyCommand(con))
}

// dataDefault is the data directory that serve would use here without options.
func dataDefault() string {
	i := slices.IndexFunc(node.Settings, func(s node.Setting) bool { return s.Flag == "data" })
	if v := os.Getenv(node.Settings[i].Env()); v != "" {
		return v
	}
	return node.Settings[i].Default
}

// checkDataDir says why dir can't be a data directory.
func checkDataDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return withStatus(exitNotFound, "%s: there is no such directory; want a node's data directory, as serve's --data names it", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s: not a directory; want a node's data directory, as serve's --data names it", dir)
	}
	return nil
}

// noLog words that a directory holds no log.
func noLog(dir string, err error) error {
	if errors.Is(err, logstore.ErrNoLog) {
		return withStatus(exitNotFound, "%s: there is no log in it; want a node's data directory, as serve's --data names it", dir)
	}
	return err
}

// groupOf reads --group; false if it is not given.
func groupOf(c *cli.Context) (raft.GroupID, bool, error) {
	if !c.IsSet("group") {
		return 0, false, nil
	}
	n := c.Uint64("group")
	if n > uint64(raft.GroupMax) {
		return 0, false, usagef("%s: --group %d; want 0 to %d", c.Command.HelpName, n, raft.GroupMax)
	}
	return raft.GroupID(n), true, nil
}

// localDisk is where data directories are. These commands change nothing.
var localDisk vfs.FS = vfs.OSReadOnly{}

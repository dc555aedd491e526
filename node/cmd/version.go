package cmd

import (
	"runtime"

	"github.com/urfave/cli/v2"

	"muster/node"
	"muster/repl/wire"
	"muster/shardmap"
)

func versionCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "version", Usage: "print what this binary is",
		Description: "Prints the version, the versions of the message protocol that it speaks, and the\n" +
			"level: what the members of a cluster must understand to be in it.\n\n" +
			`With -o json: {"version":…,"protocol_min":N,"protocol_max":N,"level":N,"go":…,"os":…,"arch":…}`,
		Action: con.action(runVersion),
	})
}

type versionRow struct {
	Version     string `json:"version"`
	ProtocolMin int    `json:"protocol_min"`
	ProtocolMax int    `json:"protocol_max"`
	Level       int    `json:"level"`
	Go          string `json:"go"`
	OS          string `json:"os"`
	Arch        string `json:"arch"`
}

func runVersion(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	v := versionRow{node.Version, int(wire.VersionMin), int(wire.VersionMax), int(shardmap.Level), runtime.Version(), runtime.GOOS, runtime.GOARCH}
	if asJSON {
		return con.printJSON(v)
	}
	return con.line("muster %s, protocol %d to %d, level %d, %s %s/%s",
		v.Version, v.ProtocolMin, v.ProtocolMax, v.Level, v.Go, v.OS, v.Arch)
}

package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"muster/logstore"
	"muster/raft"
	"muster/shardmap"
)

// fenceRow is the fence of a replica.
type fenceRow struct {
	Group       int      `json:"group"`
	Incarnation uint64   `json:"incarnation"`
	Replica     string   `json:"replica"`
	At          string   `json:"at"`
	Found       string   `json:"found"`
	Rebuilt     bool     `json:"rebuilt"`
	What        string   `json:"what"`
	Parts       []uint32 `json:"parts,omitempty"`

	reason string
}

func fenceRowOf(f *logstore.Fence) *fenceRow {
	return &fenceRow{Group: int(f.Replica.Group), Incarnation: uint64(f.Replica.Incarnation), Replica: fmt.Sprint(uint64(f.Replica.ID)),
		At: raft.FormatLogID(f.Replica.Group, f.At), Found: f.Found.String(), Rebuilt: f.Rebuilt, What: f.What, Parts: f.Parts, reason: f.Reason()}
}

// text is the fence in one line.
func (r *fenceRow) text() string {
	is := "fenced"
	if r.Rebuilt {
		is = "rebuilt"
	}
	if in := shardmap.ListParts(shardmap.PartNames(r.Parts), 0); in != "" {
		is += " in " + in
	}
	return fmt.Sprintf("group %d incarnation %d replica %s: %s, %s", r.Group, r.Incarnation, r.Replica, is, printable([]byte(r.reason)))
}

// fenceRows are the fences of a directory, and the states that were kept aside.
func (f *logFilter) fenceRows(dir string) (rows []logRow, err error) {
	if f.wantsFile(kindFence) {
		fences, err := logstore.ReadFences(localDisk, dir)
		if err != nil {
			return nil, err
		}
		for i := range fences {
			if !f.one || fences[i].Replica.Group == f.group {
				rows = append(rows, logRow{Kind: kindFence, Fence: fenceRowOf(&fences[i])})
			}
		}
	}
	if !f.wantsFile(kindAside) {
		return rows, nil
	}
	files, err := logstore.AsideFiles(localDisk, dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		a, err := readAside(file)
		switch {
		case errors.Is(err, fs.ErrNotExist): // of a node that runs: it has newer ones
		case err != nil:
			rows = append(rows, logRow{Kind: logstore.WalkedDamage, File: file, Record: kindAside, Reason: err.Error()})
		case !f.one || a.Replica.Group == f.group:
			rows = append(rows, asideRowOf(&a))
		}
	}
	return rows, nil
}

// wantsFile reports whether files of one kind that belong to replicas are wanted.
func (f *logFilter) wantsFile(kind string) bool {
	return !f.ranged && (f.kind == "" || f.kind == kind)
}

func asideRowOf(a *logstore.Aside) logRow {
	group := int(a.Replica.Group)
	return logRow{Kind: kindAside, File: a.File, Bytes: a.Size, Group: &group, Incarnation: uint64(a.Replica.Incarnation),
		Replica: fmt.Sprint(uint64(a.Replica.ID)), Base: raft.FormatLogID(a.Replica.Group, a.At)}
}

// readAside reads all of a state that was kept aside.
func readAside(file string) (logstore.Aside, error) {
	a, r, err := logstore.OpenAside(localDisk, file)
	if err != nil {
		return a, err
	}
	_, err = io.Copy(io.Discard, r)
	return a, errors.Join(err, r.Close())
}

// remedy is what can be done about a replica whose state is wrong.
func (r *fenceRow) remedy() string {
	if r.Found == logstore.FenceUndecided.String() {
		return fmt.Sprintf("start the node: it does not serve from that state; then muster check --group %d shows how the group stands, and with --fix --trust NODE decides which replica is right", r.Group)
	}
	return "start the node: it does not serve from that state, and rebuilds it"
}

// fences takes what is noted of wrong states, and names the states that were kept.
func (v *verifyRow) fences(s *logstore.Store, dir string) error {
	fences := s.Fences()
	for i := range fences {
		v.Fences = append(v.Fences, *fenceRowOf(&fences[i]))
	}
	files, err := logstore.AsideFiles(localDisk, dir)
	v.Aside = files
	return err
}

// fenced reports whether a replica has no right state.
func (v *verifyRow) fenced() bool {
	for i := range v.Fences {
		if !v.Fences[i].Rebuilt {
			return true
		}
	}
	return false
}

func printFences(con *console, v *verifyRow) {
	for i := range v.Fences {
		con.line(" fence: %s", v.Fences[i].text())
		if !v.Fences[i].Rebuilt {
			con.line("remedy: %s", v.Fences[i].remedy())
		}
		con.line("")
	}
	for _, file := range v.Aside {
		con.line("kept aside: %s", file)
	}
	if len(v.Aside) > 0 {
		con.line("")
	}
}

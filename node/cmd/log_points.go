package cmd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/repl/machine"
	"muster/shardmap/points/block"
)

// The kinds of rows that log show prints of points.
const (
	kindBlockFile   = "block file"
	kindDamagedFile = "damaged block file" // that was put aside
	kindBlock       = "block"              // of a file that is shown alone
)

// pointsRow is what a block file says of itself, or of one of its blocks.
type pointsRow struct {
	Sum     string `json:"sum,omitempty"`
	Version uint16 `json:"version,omitempty"` // of the columns
	Blocks  uint64 `json:"blocks,omitempty"`
	Series  uint64 `json:"series,omitempty"`
	Of      string `json:"of,omitempty"` // the series of a block
	Field   string `json:"field,omitempty"`
	Type    string `json:"type,omitempty"`
	Values  uint64 `json:"values,omitempty"`
	FirstNs int64  `json:"first_ns,omitempty"`
	LastNs  int64  `json:"last_ns,omitempty"`
}

// remedyPoints is what can be done about a damaged block file.
const remedyPoints = "start the node: it puts the file aside and fetches it from another replica; if none of them has it whole, muster log show FILE shows which of its blocks can still be read"

func pointsRowOf(file string, info *block.Info) logRow {
	r := logRow{Kind: kindBlockFile, File: file, Bytes: info.Size, Points: &pointsRow{Sum: info.Sum.String(), Version: info.Version, Blocks: info.Blocks, Series: info.Series, Values: info.Values, FirstNs: info.First, LastNs: info.Last}}
	if f, ok := blocks.Named(file); ok {
		group := int(f.Group.ID)
		r.Group, r.Incarnation = &group, uint64(f.Group.Incarnation)
	}
	return r
}

// pointsText says of a block file or a block what it has.
func (r *logRow) pointsText() string {
	p := r.Points
	span := fmt.Sprintf("%d values, %s to %s", p.Values, nanoText(p.FirstNs), nanoText(p.LastNs))
	if p.Values == 0 {
		span = "no values"
	}
	if r.Kind == kindBlock {
		return fmt.Sprintf("block: %s %s: %s, %s", shown([]byte(p.Of)), shown([]byte(p.Field)), p.Type, span)
	}
	of := ""
	if r.Group != nil {
		of = fmt.Sprintf("group %d incarnation %d: ", *r.Group, r.Incarnation)
	}
	return fmt.Sprintf("block file: %s%d blocks of %d series, %s, columns of version %d, %d bytes in %s", of, p.Blocks, p.Series, span, p.Version, r.Bytes, r.File)
}

func nanoText(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// pointsRows are the block files of a directory. It checks the ends of each; log verify reads the rest too.
func (f *logFilter) pointsRows(dir string) (rows []logRow, err error) {
	if f.wantsFile(kindBlockFile) {
		files, err := blocks.Files(localDisk, dir)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if of, _ := blocks.Named(file); f.one && of.Group.ID != f.group {
				continue
			}
			err := blocks.Look(localDisk, file, func(r *block.Reader) error {
				info := r.Info()
				rows = append(rows, pointsRowOf(file, &info))
				return nil
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // else of a node that runs: it was removed
				rows = append(rows, pointsDamage(file, err))
			}
		}
	}
	if !f.wantsFile(kindDamagedFile) {
		return rows, nil
	}
	files, err := blocks.AsideFiles(localDisk, dir)
	for _, file := range files {
		if of, _ := blocks.Named(file); !f.one || of.Group.ID == f.group {
			group := int(of.Group.ID)
			rows = append(rows, logRow{Kind: kindDamagedFile, File: file, Group: &group, Incarnation: uint64(of.Group.Incarnation), Points: &pointsRow{Sum: of.Sum.String()}})
		}
	}
	return rows, err
}

// pointsDamage is what is shown of a block file that can't be read.
func pointsDamage(file string, err error) logRow {
	r := logRow{Kind: logstore.WalkedDamage, File: file, Record: kindBlockFile, Reason: err.Error()}
	var d *blocks.Damaged
	if errors.As(err, &d) {
		r.Record, r.Reason, r.Offset = d.Where.Record, d.Where.Reason, &d.Where.Offset
	}
	return r
}

// showBlockFile shows a block file with all its blocks, and checks each byte of it.
func showBlockFile(c *cli.Context, file string, show func(*logRow) error) error {
	for _, flag := range []string{"group", "from", "to", "kind", "entries"} {
		if c.IsSet(flag) {
			return usagef("%s: --%s selects records of a log, and %s is a file; want a data directory, or no --%s", c.Command.HelpName, flag, file, flag)
		}
	}
	damaged := false
	tell := func(err error) error {
		damaged = true
		r := pointsDamage(file, err)
		return show(&r)
	}
	var printed error
	err := blocks.Look(localDisk, file, func(r *block.Reader) error {
		info := r.Info()
		head := pointsRowOf(file, &info)
		if printed = show(&head); printed != nil {
			return nil
		}
		cursor := r.All()
		var b block.Block
		for printed == nil && cursor.Next() {
			row := cursor.Row()
			printed = show(&logRow{Kind: kindBlock, Points: &pointsRow{Of: string(row.Series), Field: string(row.Field), Type: row.Kind.String(),
				Values: uint64(row.Points), FirstNs: row.First, LastNs: row.Last}})
			// A damaged column takes nothing but its block: the rest is shown.
			if err := cursor.Read(&b); err != nil && printed == nil {
				printed = tell(blocks.DamageIn(file, err))
			}
		}
		if printed != nil || cursor.Err() != nil || damaged {
			return cursor.Err()
		}
		return r.Verify()
	})
	switch {
	case printed != nil:
		return printed
	case errors.As(err, new(*blocks.Damaged)):
		if err := tell(err); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if damaged {
		return errQuiet(exitRefused)
	}
	return nil
}

// remedyMissing is what can be done about a block file that is not there.
const remedyMissing = "start the node: it fetches the file from another replica; if none of them has it, its points are gone"

// states are the block files that the states of a directory name, as far as they can be read. Entries that the log has behind a
// snapshot name more files: these are made again of what is in the log.
type states map[blocks.Group]map[block.Sum]bool

// needs reports whether a state names a file, or may: it could not be read.
func (s states) needs(f blocks.File) bool {
	named, known := s[f.Group]
	return !known || named[f.Sum]
}

// named reads the newest snapshot of each replica with which its log begins, one after another. A directory whose identity does not say
// that it has block files has none that count: then nothing is read.
func (v *verifyRow) named(s *logstore.Store, dir string) {
	v.states = states{}
	if id, found, err := logstore.ReadIdentity(localDisk, dir); err != nil || !found || !id.BlockFiles {
		return // a bad identity is reported for itself
	}
	for _, r := range s.Replicas() {
		if r.Group == 0 {
			continue
		}
		of := blocks.Group{ID: r.Group, Incarnation: r.Incarnation}
		base, last, _, _ := s.Bounds(r)
		var newest *logstore.Snapshot
		for i := range v.intact {
			if sn := &v.intact[i]; sn.Replica == r && sn.Base.ID.Index >= base.Index && sn.Base.ID.Index <= last.Index && (newest == nil || sn.Base.ID.Index > newest.Base.ID.Index) {
				newest = sn
			}
		}
		switch {
		case newest != nil:
			sums, err := machine.SnapshotFiles(s, *newest)
			if err != nil {
				continue // of damage all snapshots were read for; what it names is not known
			}
			v.states[of] = make(map[block.Sum]bool, len(sums))
			for _, sum := range sums {
				v.states[of][sum] = true
			}
		case base.Index == 0:
			v.states[of] = map[block.Sum]bool{} // the log has all
		}
	}
}

// blockFiles reads all of every block file, and looks for those that a state names and that are not there. Damage of a file that
// no state names costs nothing.
func (v *verifyRow) blockFiles(dir string) error {
	files, err := blocks.Files(localDisk, dir)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, file := range files {
		f, _ := blocks.Named(file)
		info, err := blocks.VerifyFile(localDisk, file)
		lost := v.lostPoints(f)
		seen[file] = true
		var d *blocks.Damaged
		switch {
		case err == nil:
			v.BlockFiles++
			v.BlockFileBytes += info.Size
		case errors.As(err, &d):
			v.damage(&d.Where, lost, remedyPoints)
		case errors.Is(err, logstore.ErrRefused):
			v.damage(&logstore.Damage{File: file, Record: kindBlockFile, Reason: err.Error(), Refused: true}, lost, remedyRefused)
		case errors.Is(err, fs.ErrNotExist): // of a node that runs: it was removed
		default:
			return err
		}
	}
	files, err = blocks.AsideFiles(localDisk, dir)
	for _, file := range files {
		v.Aside = append(v.Aside, file)
		if f, _ := blocks.Named(file); !seen[path.Join(path.Dir(file), f.Sum.Name())] {
			seen[path.Join(path.Dir(file), f.Sum.Name())] = true // one of that sum is enough to say it
			v.damage(&logstore.Damage{File: file, Record: kindDamagedFile, Reason: "it was put aside, and no whole file has its name yet"}, v.lostPoints(f), remedyPoints)
		}
	}
	for _, of := range slices.SortedFunc(maps.Keys(v.states), func(a, b blocks.Group) int { return cmp.Compare(a.ID, b.ID) }) {
		sums := slices.SortedFunc(maps.Keys(v.states[of]), func(a, b block.Sum) int { return bytes.Compare(a[:], b[:]) })
		for _, sum := range sums {
			f := blocks.File{Group: of, Sum: sum}
			if file := path.Join(dir, blocks.Dir, fmt.Sprintf("%s-i%d", of.ID, of.Incarnation), sum.Name()); !seen[file] {
				v.damage(&logstore.Damage{File: file, Record: kindBlockFile, Reason: "the state names it, and it is not there"}, v.lostPoints(f), remedyMissing)
			}
		}
	}
	return err
}

// lostPoints says what is lost with a file; "": nothing, since no state names it.
func (v *verifyRow) lostPoints(f blocks.File) string {
	if !v.states.needs(f) {
		return ""
	}
	return fmt.Sprintf("points of group %d incarnation %d, on this node", f.Group.ID, uint64(f.Group.Incarnation))
}

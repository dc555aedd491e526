//go:build plantedbugs

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/shardmap"
)

const (
	// spoilFile, in the data directory, says what is to be spoiled, in one line: a group, "bit",
	// "skip" or "twice", and for the last two, in a data group, the prefix of keys.
	spoilFile = "spoil"
	// spoilDone says what was spoiled once it is: a part, or nothing, and what of it.
	spoilDone = "spoil.done"
	spoilPace = 50 * time.Millisecond
)

// spoiling begins to spoil states of this node's replicas, as memory that fails, or a mistake of
// the program, would. It does so on request of a test, in a file. It exists only under the build tag
// plantedbugs.
func spoiling(n *Node) {
	n.ended.Go(func() { (&spoiler{n}).run() })
}

// spoiler does what a file in the data directory asks for, one after the other.
type spoiler struct{ *Node }

func (n *spoiler) run() {
	from := filepath.Join(n.cfg.Data, spoilFile)
	for pace := time.NewTicker(spoilPace); ; {
		select {
		case <-pace.C:
		case <-n.ctx.Done():
			pace.Stop()
			return
		}
		line, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.Remove(from)
		}
		what := ""
		if err == nil {
			what, err = n.one(strings.Fields(string(line)))
		}
		if err != nil {
			what = "error: " + err.Error()
		}
		n.log.Warn("state spoiled", "asked", string(bytes.TrimSpace(line)), "what", what)
		half := filepath.Join(n.cfg.Data, spoilDone+".tmp")
		if err = os.WriteFile(half, []byte(what), 0o600); err == nil {
			err = os.Rename(half, filepath.Join(n.cfg.Data, spoilDone))
		}
		if err != nil {
			n.log.Error("spoiling", "err", err)
		}
	}
}

// one does what a line asks for, waits until it is done, and returns what was done.
func (n *spoiler) one(words []string) (what string, err error) {
	var group raft.GroupID
	if len(words) < 2 || len(words) > 3 {
		return "", fmt.Errorf("%d words, want 2 or 3", len(words))
	}
	if _, err := fmt.Sscan(words[0], &group); err != nil {
		return "", err
	}
	slip := map[string]machine.SlipKind{"skip": machine.SlipSkips, "twice": machine.SlipTwice}[words[1]]
	ctx, done := context.WithCancel(n.ctx)
	defer done()
	asked := n.running().Ask(func(h *repl.Host) {
		if slip == 0 {
			defer done()
		}
		var part shardmap.Part
		ok := true
		switch m := h.Machine(group).(type) {
		case *machine.Map:
			if slip == 0 {
				part, what, ok = m.State.Spoil(rand.IntN)
				break
			}
			m.Slip(slip, []byte(words[len(words)-1]), done)
			return
		case *machine.Meta:
			if slip == 0 {
				part, what, ok = m.Table.Spoil(rand.IntN)
				break
			}
			m.Slip(slip, done)
			return
		default:
			err = fmt.Errorf("there is no state of group %d", group)
		}
		if !ok {
			err = errors.New("there is nothing to spoil")
		}
		what = fmt.Sprintf("%s: %s", part, what)
	})
	if !asked {
		return "", errors.New("the node ends")
	}
	if err != nil {
		return "", err
	}
	<-ctx.Done()
	return what, n.ctx.Err()
}

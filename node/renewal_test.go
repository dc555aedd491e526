package node

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// leadLog is the log of some nodes, of which it keeps what is about connections that end and groups that
// lose their leaders.
type leadLog struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (l *leadLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *leadLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *leadLog) WithGroup(string) slog.Handler            { return l }

func (l *leadLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%q", a.Key, a.Value)
		return true
	})
	if r.Message == "peer lost" || r.Message == "group lost leadership" || r.Message == "group has leader" && strings.Contains(line, "lost=") {
		l.mu.Lock()
		l.lines = append(l.lines, line)
		l.mu.Unlock()
	}
	return nil
}

// begin forgets what was so far.
func (l *leadLog) begin() {
	l.mu.Lock()
	l.lines = nil
	l.mu.Unlock()
}

// wrong says that members' connections were cut, or that a group lost its leader because of it; empty if not.
func (l *leadLog) wrong() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []string
	for _, line := range l.lines {
		if strings.Contains(line, "without a certificate") || strings.Contains(line, `lost="connection closed"`) {
			wrong = append(wrong, line)
		}
	}
	return strings.Join(wrong, "\n")
}

// foundingCuts founds a cluster, and says what that has cut.
func foundingCuts(t *testing.T) string {
	log := new(leadLog)
	nodes, _ := securedLogging(t, 3, log)
	// A node notices at once that a connection which it made was cut, and a new leader is there within some
	// election time-outs.
	until(t, "all groups have leaders", func() error {
		for i, r := range nodes {
			if groups, ok := r.node.announcer.leaderless(); !ok || len(groups) > 0 {
				return fmt.Errorf("node %d knows none of groups %v", i, groups)
			}
		}
		return nil
	})
	if log.wrong() == "" {
		time.Sleep(2 * electionTicks * tick) // nothing is to happen, and that can't be waited for
	}
	return log.wrong()
}

// Members found a cluster by the secret, and when all have certificates the secret opens nothing any more: what
// was connected by it ends, on all nodes at once. Their own connections must go on by certificates before that, or
// each group loses the leader that it has just got.
func TestFoundingKeepsLeaders(t *testing.T) {
	if wrong := foundingCuts(t); wrong != "" {
		t.Error(wrong)
	}
}

package metrics

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Condition is one thing that must be so for a node to be alive, or to be ready.
type Condition struct {
	Name   string // a word
	OK     bool
	Reason string // what was found; of one that is met too, if it is worth knowing
	Next   string // what to do, where it is not met
}

// Times of the answers about health.
const (
	// healthMax bounds how long an answer is worked on. What has not answered by then does not
	// work.
	healthMax = 2 * time.Second
	// readyFor is for how long an answer to whether a node is ready serves those who ask after
	// it: each asks a majority, and anybody may ask.
	readyFor = 500 * time.Millisecond
)

// Live answers with 200 if the process works, and else with 503 and what hangs. It asks no other
// node: a cluster without a majority is no reason to end a process.
func Live(s Source) http.Handler { return health(s.Alive, 0) }

// Ready answers with 200 if the node serves, and else with 503. With ?verbose it lists each
// condition with what was found and what to do.
func Ready(s Source) http.Handler { return health(s.Ready, readyFor) }

// bugEachAsks is planted to show that its test finds it: strangers have a majority asked as often as
// they like.
const bugEachAsks = "each who asks whether a node is ready has a majority asked"

// answer is what was found of a node's health, once for all who ask at the same time.
type answer struct {
	done  chan struct{} // closed when conditions are there
	until time.Time     // since when it is too old; set before done is closed

	conditions []Condition
}

// health asks a node for its conditions, one question at a time, and serves all who ask meanwhile
// and for a while after with the one answer.
func health(ask func(context.Context) []Condition, goodFor time.Duration) http.Handler {
	var mu sync.Mutex
	var last *answer // guarded by mu; what it has, by its done
	now := func(ctx context.Context) []Condition {
		mu.Lock()
		a := last
		mine := a == nil || bug(bugEachAsks)
		if !mine {
			select {
			case <-a.done:
				mine = !time.Now().Before(a.until)
			default:
			}
		}
		if mine {
			a = &answer{done: make(chan struct{})}
			last = a
		}
		mu.Unlock()
		if mine {
			// Not by the context of the one who asks: others wait for the same.
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthMax)
			defer cancel()
			a.conditions = ask(bounded)
			a.until = time.Now().Add(goodFor)
			close(a.done)
		}
		select {
		case <-a.done:
			return a.conditions
		case <-ctx.Done():
			return []Condition{{Name: "answer", Reason: "nobody waits for it any more"}}
		}
	}
	return reading(func(w http.ResponseWriter, r *http.Request) {
		list := now(r.Context())
		_, verbose := r.URL.Query()["verbose"]
		body, ok := healthPage(list, verbose)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(body)
	})
}

// healthPage is a line for each condition that is not met, or, if it is to be verbose, for each;
// "ok" where all are met.
func healthPage(list []Condition, verbose bool) (page []byte, ok bool) {
	var b bytes.Buffer
	ok = true
	for _, c := range list {
		ok = ok && c.OK
		if c.OK && !verbose {
			continue
		}
		mark := "[+]"
		if !c.OK {
			mark = "[-]"
		}
		fmt.Fprintf(&b, "%s %s", mark, c.Name)
		if c.Reason != "" {
			b.WriteString(": " + c.Reason)
		}
		b.WriteByte('\n')
		if !c.OK && c.Next != "" {
			fmt.Fprintf(&b, "    next: %s\n", c.Next)
		}
	}
	if ok {
		b.WriteString("ok\n")
	}
	return b.Bytes(), ok
}

// Command pipeline moves the data of a replicated store without being one.
//
// A leader and two followers do for a put and a get what cannot be left out where
// three copies are kept on disks: frames in, one batch, a write and sync on each
// node, an answer from a follower, the change of a table, answers out. They have
// no terms, no elections, no sessions, no recovery, no snapshots, and no remedy
// for a slow peer; values are of one size. What a real system costs beyond this
// is the price of its promises, or waste.
//
// # Goroutines
//
//	main      the leader's loop, or a follower's, which does everything there
//	reader    one for each connection of a client or to a follower
//	writer    one, on the leader: the log
//
// leader.go has the loop, inbox.go how others reach it, follower.go the other two
// nodes, entries.go the bytes that both log, log.go the file, table.go the state.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address for clients, or of a follower for its leader")
	followers := flag.String("followers", "", "addresses of the followers, with a comma between; none makes a follower")
	dir := flag.String("dir", "", "data directory, on a disk")
	keys := flag.Int("keys", 0, "most keys that there will be")
	flag.Parse()
	err := serve(*listen, *followers, *dir, *keys)
	fmt.Fprintln(os.Stderr, "pipeline:", err)
	os.Exit(1)
}

// serve returns only with an error: a pipeline ends by being killed.
func serve(listen, followers, dir string, keys int) error {
	w, err := openLog(dir)
	if err != nil {
		return err
	}
	t := newTable(keys)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if followers == "" {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		return follow(c, w, t)
	}
	var conns []net.Conn
	for addr := range strings.SplitSeq(followers, ",") {
		c, err := dialPatiently(addr)
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	return newLeader(w, t, conns).serve(l)
}

// dialPatience is how long a follower may take to start; its log is written once
// before it listens.
const dialPatience = 20 * time.Second

func dialPatiently(addr string) (net.Conn, error) {
	for until := time.Now().Add(dialPatience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil || time.Now().After(until) {
			return c, err
		}
	}
}

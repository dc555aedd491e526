package metrics

import (
	"bytes"
	"fmt"
	"net/http"
	"path"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"
)

// ProfilesPath is where [Profiles] is to be mounted, with all below it.
const ProfilesPath = "/debug/pprof/"

// Bounds of profiles that take time.
const (
	profileSeconds    = 10 // where nobody says
	profileSecondsMax = 60
	// profileBytesMax bounds a trace, the largest of them: a busy node writes some MB in a second.
	profileBytesMax = 256 << 20
)

// Bugs that are planted to show that their tests find them.
const (
	bugManyProfiles = "profiles beside each other"
	bugLongProfile  = "a profile for as long as somebody likes"
)

// Profiles answers with profiles of the process, for go tool pprof and go tool trace: profile and
// trace, which take ?seconds=N, and those of package runtime/pprof, which are there at once and
// with ?debug=1 or 2 are text. One is made at a time. They show what is in the process's memory,
// and slow it down: they are for those who may do anything.
func Profiles() http.Handler {
	free := make(chan struct{}, 1)
	free <- struct{}{}
	return reading(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/") {
			listProfiles(w)
			return
		}
		f := profileOf(name)
		if f == nil {
			http.Error(w, fmt.Sprintf("there is no profile %q; %s lists those that there are", name, ProfilesPath), http.StatusNotFound)
			return
		}
		select {
		case <-free:
			defer func() { free <- struct{}{} }()
		default:
			if bug(bugManyProfiles) {
				break
			}
			http.Error(w, "another profile is being made; ask again when it is done", http.StatusConflict)
			return
		}
		f(w, r)
	})
}

// listProfiles lists what there is.
func listProfiles(w http.ResponseWriter) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "profile?seconds=%d\ntrace?seconds=%d\n", profileSeconds, profileSeconds)
	for _, p := range pprof.Profiles() {
		fmt.Fprintf(&b, "%s\t%d\n", p.Name(), p.Count())
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	write(w, b.Bytes())
}

// profileOf finds how a profile is made; nil if there is none of that name.
func profileOf(name string) http.HandlerFunc {
	switch name {
	case "profile":
		return func(w http.ResponseWriter, r *http.Request) {
			timed(w, r, func(b *bounded) error { return pprof.StartCPUProfile(b) }, pprof.StopCPUProfile)
		}
	case "trace":
		return func(w http.ResponseWriter, r *http.Request) {
			timed(w, r, func(b *bounded) error { return trace.Start(b) }, trace.Stop)
		}
	}
	p := pprof.Lookup(name)
	if p == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		debug, err := strconv.Atoi(r.URL.Query().Get("debug"))
		if r.URL.Query().Get("debug") != "" && (err != nil || debug < 0 || debug > 2) {
			http.Error(w, "debug: want 0, 1 or 2", http.StatusBadRequest)
			return
		}
		var b bytes.Buffer
		if err := p.WriteTo(&b, debug); err != nil {
			http.Error(w, "profile "+name+": "+err.Error(), http.StatusInternalServerError)
			return
		}
		sendProfile(w, b.Bytes(), debug > 0)
	}
}

// timed makes a profile for as many seconds as are asked for, or until nobody waits for it.
func timed(w http.ResponseWriter, r *http.Request, start func(*bounded) error, stop func()) {
	d, ok := seconds(r, "seconds", profileSeconds, profileSecondsMax)
	if !ok && !bug(bugLongProfile) {
		http.Error(w, fmt.Sprintf("seconds: want a whole number of 1 to %d", profileSecondsMax), http.StatusBadRequest)
		return
	}
	var b bounded
	if err := start(&b); err != nil {
		http.Error(w, "the profile can't be made: "+err.Error(), http.StatusConflict)
		return
	}
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
	case <-r.Context().Done():
	}
	stop()
	if b.full {
		http.Error(w, fmt.Sprintf("the profile is over %d MiB; ask for fewer seconds", profileBytesMax>>20), http.StatusRequestEntityTooLarge)
		return
	}
	sendProfile(w, b.Bytes(), false)
}

func sendProfile(w http.ResponseWriter, body []byte, text bool) {
	kind := "application/octet-stream"
	if text {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	write(w, body)
}

// bounded keeps what is written to it, up to profileBytesMax. One goroutine writes; its owner
// looks after that has ended.
type bounded struct {
	bytes.Buffer
	full bool
}

// Write implements [io.Writer].
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > profileBytesMax {
		b.full = true
		b.Reset()
	}
	if b.full {
		return len(p), nil // what writes would go on anyway
	}
	return b.Buffer.Write(p)
}

package probe

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"muster/repl/health"
	"muster/shardmap/registry"
)

// Config is what an operator allows of checks.
type Config struct {
	// Programs are those that checks of type custom may run: absolute paths by name.
	Programs map[string]string
	// Ranges are where targets must be. None: anywhere but at link-local (169.254.0.0/16,
	// fe80::/10) and unspecified addresses.
	Ranges []netip.Prefix
}

// Prober makes probes, any number at once.
type Prober struct {
	programs map[string]string
	ranges   []netip.Prefix
	running  atomic.Int64 // programs that have not ended
	broken   atomic.Int64 // checks that a driver ended with a panic
}

// New returns a prober.
func New(c Config) (*Prober, error) {
	for _, name := range slices.Sorted(maps.Keys(c.Programs)) {
		if err := runnable(name, c.Programs[name]); err != nil {
			return nil, err
		}
	}
	return &Prober{programs: maps.Clone(c.Programs), ranges: slices.Clone(c.Ranges)}, nil
}

// check looks at the target of spec, over connections that it dials with c. It returns what there is
// to say of a target that is up, leaving out whatever differs from one probe to the next, or why
// the target is not up.
type check func(ctx context.Context, c *conns, spec *registry.Spec) (string, error)

// checkOf returns how a type is checked, or nil: [registry.TypeTTL] reports itself.
func (p *Prober) checkOf(kind string) check {
	switch kind {
	case registry.TypeTCP:
		return checkTCP
	case registry.TypeWeb:
		return checkWeb
	case registry.TypeMySQL:
		return p.guarded(checkMySQL)
	case registry.TypePostgres:
		return p.guarded(checkPgSQL)
	case registry.TypeRedis:
		return checkRedis
	case registry.TypeGRPC:
		return checkGRPC
	case registry.TypeCustom:
		return p.checkProgram
	}
	return nil
}

// Run makes one probe. It returns at the end of ctx or of spec.Timeout at the latest, give or take
// [killWait] for a program, and leaves nothing open. The reason has no secret of spec in it.
func (p *Prober) Run(ctx context.Context, spec *registry.Spec) health.Result {
	look := p.checkOf(spec.Type)
	if look == nil {
		return health.Result{NotAllowed: true, Reason: "there are no checks of type " + spec.Type}
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	c := &conns{prober: p, ctx: ctx}
	// Each driver looks at its context in its own way. All of them notice a closed socket.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.close()
		close(closed)
	})
	said, err := look(ctx, c, spec)
	late := ctx.Err() != nil
	if stop() {
		c.close()
	} else {
		<-closed // it has begun to close them
	}
	if err == nil {
		return health.Result{Up: true, Reason: clean(said, spec)}
	}
	r := health.Result{Reason: clean(c.why(err, late, spec.Timeout), spec)}
	r.NotAllowed = c.notMade(err)
	return r
}

// brokenMax bounds the panics of drivers. Each may leave a goroutine behind, which nothing can end.
const brokenMax = 1000

// guarded returns the check look of a driver, but one that takes a panic in it for a fault of the target:
// what a stranger sends may have a form that the driver's authors did not think of, and must not end
// this process. A panic in a goroutine that the driver starts does end it.
func (p *Prober) guarded(look check) check {
	return func(ctx context.Context, c *conns, spec *registry.Spec) (said string, err error) {
		if p.broken.Load() >= brokenMax {
			return "", &notMadeError{fmt.Sprintf("targets have broken the drivers of this node %d times, the most that it endures until it is started again", brokenMax)}
		}
		defer func() {
			if recover() != nil {
				p.broken.Add(1)
				said, err = "", fmt.Errorf("not %s: an answer that can't be read", spec.Type)
			}
		}()
		return look(ctx, c, spec)
	}
}

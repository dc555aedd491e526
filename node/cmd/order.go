package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// An order is something that a person asks of the cluster and that can hurt: its plan is
// shown first, and carried out once that person says so, by --yes or on a terminal. What
// is carried out is what was shown: the cluster refuses an order whose plan has become
// another one.

// order is a command to the meta group, with the words for it.
type order struct {
	what    string // "drain node n4"
	command []byte
	skips   string // the safety rule that --force takes out; empty: none is
	// notes are the plan's lines of an order that is not about replicas: the meta group has
	// no steps for such, and problems with replicas are none of its plan.
	notes []string
	// binds tells its plan from another one with the same command and steps; it may be empty.
	binds []byte
	// carries is that of its proposal.
	carries string
	// fits: the order is refused if its plan can't be carried out to its end. Its job would
	// wait for a node that nobody may add.
	fits bool
	// after is the index of a table from before the order, of an order whose plan is not that of the meta group.
	after uint64
	// made reports whether a job is the one that this order begins.
	made func(*shardmap.Job) bool
}

// orderFlags are the options of commands that show a plan and begin a job.
func orderFlags(more ...cli.Flag) []cli.Flag {
	return append(more, yesFlag(), noWaitFlag())
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Usage: "carry the plan out without asking; off a terminal nothing is done without it"}
}

func noWaitFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-wait", Usage: "end as soon as the job has begun, and print its first row"}
}

const (
	// stepsShown bounds the steps of a plan that are shown: a person reads no further.
	stepsShown = 100
	// ordersMax is how often an order with --yes is given while its plan changes under it,
	// as it does while other jobs run.
	ordersMax = 5
)

// consent is how a person agrees to a plan.
type consent uint8

const (
	consentAsked consent = iota // on a terminal; elsewhere nobody agrees
	consentGiven                // by --yes
)

func consentOf(c *cli.Context) consent {
	if c.Bool("yes") {
		return consentGiven
	}
	return consentAsked
}

// carryOut shows the plan of an order, and has it carried out if a person agrees. The
// answer names the job, or none.
func (s *errand) carryOut(ctx context.Context, o *order, agreed consent) (*wire.OrderAnswer, error) {
	for try := 1; ; try++ {
		p, err := s.wholePlan(ctx, o)
		if err != nil {
			return nil, err
		}
		s.propose(o.proposal(p))
		if err := s.fits(ctx, o, p); err != nil {
			return nil, err
		}
		if agreed != consentGiven && !s.agrees(ctx) {
			return nil, notConfirmed()
		}
		a, err := s.give(ctx, o, p.Index)
		if agreed == consentGiven && try < ordersMax && errors.Is(err, client.ErrConflict) {
			continue // the plan is another by now, and --yes is meant for any; if it is not that, the plan is refused too
		}
		return a, err
	}
}

// plan asks for an order's plan.
func (s *errand) plan(ctx context.Context, o *order) (p *wire.OrderAnswer, err error) {
	err = s.with(ctx, func(ctx context.Context) error {
		p, err = s.client.Plan(ctx, o.command)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.what, err)
	}
	return p, nil
}

// wholePlan asks for an order's plan until the leaders of all groups have reported, as they
// do within a moment of an election; for pollMax at most, since a group may have none.
func (s *errand) wholePlan(ctx context.Context, o *order) (*wire.OrderAnswer, error) {
	began := time.Now()
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		p, err := s.plan(ctx, o)
		if err != nil || !slices.ContainsFunc(p.Problems, func(x wire.Problem) bool { return x.Remedy == plan.RemedyReport }) || time.Since(began) >= pollMax {
			return p, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fits refuses an order whose plan has problems that are not there without it: a group that
// would keep a replica for want of another node, or would lose its majority.
func (s *errand) fits(ctx context.Context, o *order, p *wire.OrderAnswer) error {
	if !o.fits || len(p.Problems) == 0 {
		return nil
	}
	now, err := s.planOfNothing(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", o.what, err)
	}
	brings := slices.DeleteFunc(slices.Clone(p.Problems), func(x wire.Problem) bool { return slices.Contains(now.Problems, x) })
	if len(brings) == 0 {
		return nil
	}
	more := ""
	if n := len(brings) - 1; n > 0 {
		more = fmt.Sprintf("; the plan names %d more", n)
	}
	next := brings[0].Remedy
	if next == plan.RemedyAdd {
		next += ", with muster node add HOST:PORT, then give the command again"
	}
	return withStatus(exitRefused, "%s: refused, nothing was changed (%s%s); %s", o.what, brings[0].What, more, next)
}

// planOfNothing is what is planned as things are: the plan of a setting that is set to what
// it is.
func (s *errand) planOfNothing(ctx context.Context) (*wire.OrderAnswer, error) {
	t, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	row := shardmap.Settings()[0]
	value, _ := t.Setting(row.Name)
	command, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: row.Name, Value: value})
	if err != nil {
		return nil, err
	}
	return s.plan(ctx, &order{what: "see what is planned now", command: command})
}

// give has an order carried out as its plan for the table of index says; 0 if no plan
// was shown.
func (s *errand) give(ctx context.Context, o *order, index uint64) (a *wire.OrderAnswer, err error) {
	if s.call.wantsConsent() {
		// It takes effect at once, and has no plan but that; a request that asks for a plan gets this one.
		s.propose(&proposal{lines: []string{"plan to " + o.what + ": no group changes"}, binds: [][]byte{o.command}})
		if !s.agrees(ctx) {
			return nil, notConfirmed()
		}
	}
	err = s.with(ctx, func(ctx context.Context) error {
		a, err = s.client.Order(ctx, o.command, index)
		return err
	})
	if errors.Is(err, client.ErrMaybeApplied) && o.made != nil {
		if id, found := s.begun(ctx, o, max(index, o.after)); found {
			return &wire.OrderAnswer{Index: id, Job: id}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.what, err)
	}
	return a, nil
}

// begun looks for the job of an order that was sent and not answered: its leader may have
// died with the answer. index is that of the table before the order.
func (s *errand) begun(ctx context.Context, o *order, index uint64) (id uint64, found bool) {
	err := s.until(ctx, func(t *shardmap.Table) glance {
		for i := range t.Jobs {
			if j := &t.Jobs[i]; j.ID > index && o.made(j) {
				id, found = j.ID, true
			}
		}
		return glance{over: found}
	}, waitAsLongAsACall)
	return id, found && err == nil
}

// agrees reports whether somebody says yes to what was shown: a person or, over HTTP, a request that names it.
func (s *errand) agrees(ctx context.Context) bool {
	if s.call != nil {
		return s.call.agrees()
	}
	return s.asks && s.confirmed(ctx, "carry it out?")
}

func notConfirmed() error {
	return withStatus(exitNotConfirmed, "the plan was shown and nothing was changed; give the command again with --yes to carry it out")
}

// proposal is a plan that somebody is to agree to.
type proposal struct {
	index uint64 // of the table that it was made for; 0: it is not about the table
	lines []string
	// binds is what the plan is known by: those of two plans are the same if they do the same.
	binds [][]byte
	// carries is what a request has to bring along, with its token, to have just this carried out: the command would
	// else make another plan of what the cluster is like by then. Empty: its arguments say it all.
	carries string
}

// propose shows a plan: a person on standard error, a request in its answer.
func (con *console) propose(p *proposal) {
	if con.call != nil {
		con.call.proposed(p)
		return
	}
	for _, line := range p.lines {
		con.sayf("%s", line)
	}
}

// proposal is what would be done: each step with its group, the quorum before and after, and what one more lost node
// would cost.
func (o *order) proposal(p *wire.OrderAnswer) *proposal {
	made := &proposal{index: p.Index, carries: o.carries, binds: [][]byte{o.command, []byte(o.skips), o.binds}}
	sayf := func(format string, args ...any) { made.lines = append(made.lines, fmt.Sprintf(format, args...)) }
	head := fmt.Sprintf("plan to %s, for the table of index %d:", o.what, p.Index)
	if len(p.Steps)+len(o.notes) == 0 {
		head += " no group changes"
	}
	sayf("%s", head)
	for _, note := range o.notes {
		sayf("  %s", note)
	}
	for i, step := range p.Steps {
		made.binds = append(made.binds, []byte(step.Text), []byte(step.Risk))
		if i < stepsShown {
			sayf("%4d. %s", i+1, step.Text)
			sayf("      %s", step.Risk)
		}
	}
	if more := len(p.Steps) - stepsShown; more > 0 {
		sayf("      and %d more steps", more)
	}
	if p.Bytes > 0 {
		sayf("  new replicas are sent %s", showBytes(p.Bytes))
	}
	if o.skips != "" {
		sayf("  --force skips a safety rule: %s", o.skips)
	}
	problems := p.Problems
	if len(o.notes) > 0 {
		problems = nil
	}
	for i, x := range problems {
		made.binds = append(made.binds, []byte(x.What), []byte(x.Remedy))
		sayf("  problem: %s", x.What)
		// Mostly all groups have the same one.
		if i+1 == len(problems) || problems[i+1].Remedy != x.Remedy {
			sayf("   remedy: %s", x.Remedy)
		}
	}
	return made
}

// showBytes is n bytes as people read it.
func showBytes(n uint64) string {
	const step = 1024
	units := [...]string{"KiB", "MiB", "GiB", "TiB"}
	if n < step {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/step, 0
	for v >= step && i < len(units)-1 {
		v /= step
		i++
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// orderly is a command that gives one order after the other.
type orderly struct {
	*errand
	agreed consent
	wait   bool
	jobs   []jobRow // as they ended or, if nobody waits, began
}

func (con *console) orderly(c *cli.Context) (*orderly, error) {
	s, err := con.open(c, 1)
	if err != nil {
		return nil, err
	}
	return &orderly{errand: s, agreed: consentOf(c), wait: !c.Bool("no-wait")}, nil
}

// orderlyTable is orderly for an order that is made of what the table says. The caller
// closes what it returns, unless there is an error.
func (con *console) orderlyTable(c *cli.Context) (*orderly, *shardmap.Table, error) {
	s, err := con.orderly(c)
	if err != nil {
		return nil, nil, err
	}
	t, err := s.table(c.Context)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, t, nil
}

// all carries orders out, one after the other: the plan of each is made when what the one
// before wanted is done, or at least begun. It returns how many were.
func (s *orderly) all(ctx context.Context, orders []order) (done int, err error) {
	if len(orders) == 0 {
		return 0, nil // nothing to agree to: what was asked for is so already
	}
	if s.agreed != consentGiven && !s.asks && (s.call == nil || len(orders) > 1) {
		// A request agrees to all plans before the first is carried out: later ones are others by then.
		if err := s.onlyPlans(ctx, orders); err != nil || !s.agrees(ctx) {
			return 0, cmp.Or(err, notConfirmed())
		}
	}
	for i := range orders {
		if err := s.one(ctx, &orders[i]); err != nil {
			if i > 0 {
				err = withStatus(exitPartly, "%d of %d are done; %w", i, len(orders), err)
			}
			return i, err
		}
	}
	return len(orders), nil
}

// onlyPlans shows the plans of orders, each as if it were alone.
func (s *orderly) onlyPlans(ctx context.Context, orders []order) error {
	for i := range orders {
		p, err := s.wholePlan(ctx, &orders[i])
		if err != nil {
			return err
		}
		s.propose(orders[i].proposal(p))
		if err := s.fits(ctx, &orders[i], p); err != nil {
			return err
		}
	}
	return nil
}

func (s *orderly) one(ctx context.Context, o *order) error {
	a, err := s.carryOut(ctx, o, s.agreed)
	if err != nil || a.Job == 0 {
		return err
	}
	return s.attend(ctx, a)
}

// attend waits for the job of an order, or for its first row if nobody waits.
func (s *orderly) attend(ctx context.Context, a *wire.OrderAnswer) error {
	if !s.wait {
		j, err := s.jobOnce(ctx, a.Job)
		if err == nil {
			s.jobs = append(s.jobs, jobRowOf(&j))
		}
		return err
	}
	j, err := s.follow(ctx, a.Job, a.Bytes)
	if err != nil {
		return err
	}
	s.jobs = append(s.jobs, jobRowOf(&j))
	return endOf(&j)
}

// finish prints the jobs there were, and passes an error on.
func (s *orderly) finish(err error) error {
	if perr := printJobs(s.errand, s.jobs); err == nil {
		err = perr
	}
	return err
}

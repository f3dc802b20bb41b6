package store

import (
	"cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
)

// What one sender can add in a minute to what is kept for each alert and each host.
const (
	DefaultMaxNewAlerts = 100  // that the events of one agent open
	agentsPerSender     = 10   // all agents of a sender may open as many alerts as so many agents
	MaxNewHosts         = 1000 // of a sender
)

// CorrelationSender is the sender of the matches of correlations.
const CorrelationSender = "correlations"

// AlertQuotaRule is the rule id of the alerts that gather the matches past a quota.
const AlertQuotaRule = "picket:alert-quota"

// A Quota bounds what one sender adds in a minute. It counts in memory: each process has
// a Quota of its own, which starts again with the process. What a batch adds is decided
// once, when it is saved, so a batch that is delivered again changes nothing. A Quota is
// for one transaction at a time.
type Quota struct {
	maxAlerts int
	minute    int64
	used      map[quotaKey]int
}

type quotaKey struct{ of, sender, agent string }

// NewQuota returns a Quota of so many new alerts for an agent. 0: DefaultMaxNewAlerts;
// negative: no bound.
func NewQuota(maxAlerts int) *Quota { return &Quota{maxAlerts: cmp.Or(maxAlerts, DefaultMaxNewAlerts)} }

// Begin returns what a transaction may add at a time, in microseconds.
func (q *Quota) Begin(now int64) *QuotaUse { return &QuotaUse{quota: q, minute: MinuteOf(now)} }

// A QuotaUse is what one transaction adds.
type QuotaUse struct {
	quota  *Quota
	minute int64
	added  map[quotaKey]int
}

func (u *QuotaUse) used(k quotaKey) int {
	n := u.added[k]
	if u.quota.minute == u.minute {
		n += u.quota.used[k]
	}
	return n
}

func (u *QuotaUse) add(k quotaKey) {
	if u.added == nil {
		u.added = make(map[quotaKey]int)
	}
	u.added[k]++
}

func ofAgent(sender, agent string) quotaKey { return quotaKey{"alert", sender, agent} }
func ofSender(sender string) quotaKey       { return quotaKey{"alerts", sender, ""} }

// Alert returns the alert that a match of a sender's event opens: a, or past a quota the
// one that gathers such matches.
func (u *QuotaUse) Alert(sender string, a picket.Alert) picket.Alert {
	limit := u.quota.maxAlerts
	switch {
	case limit < 0 || a.RuleID == AlertQuotaRule:
		return a
	case u.used(ofSender(sender)) >= limit*agentsPerSender:
		return gathering("Too many new alerts from this sender: further matches are here", cmp.Or(sender, "unknown"))
	case u.used(ofAgent(sender, a.AgentID)) >= limit:
		return gathering("Too many new alerts from this agent: further matches are here", a.AgentID)
	}
	return a
}

// gathering returns an alert that gathers matches. It has no host, because they may be of
// many.
func gathering(title, agent string) picket.Alert {
	return picket.Alert{RuleID: AlertQuotaRule, Title: title, Level: sigma.High, AgentID: agent}
}

// AddAlert counts an alert that was opened.
func (u *QuotaUse) AddAlert(sender string, a *picket.Alert) {
	if a.RuleID != AlertQuotaRule {
		u.add(ofSender(sender))
		u.add(ofAgent(sender, a.AgentID))
	}
}

// AddHost counts a new host of a sender, unless the sender has added MaxNewHosts.
func (u *QuotaUse) AddHost(sender string) bool {
	k := quotaKey{"hosts", sender, ""}
	if u.used(k) >= MaxNewHosts {
		return false
	}
	u.add(k)
	return true
}

// Commit counts what the transaction has added, once it cannot fail any more.
func (u *QuotaUse) Commit() {
	q := u.quota
	if len(u.added) == 0 {
		return
	}
	if q.minute != u.minute {
		q.minute, q.used = u.minute, make(map[quotaKey]int)
	}
	for k, n := range u.added {
		q.used[k] += n
	}
}

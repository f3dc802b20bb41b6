package normalize

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// genericFormat is any other JSON object. Its type is its event_type, or comes from the
// URL that it was posted to. Its fields keep their paths as names, so that rules
// can use them. It belongs to the logsources that it declares.
var genericFormat = format{
	name:          "generic",
	agentPaths:    []string{"agent.id", "agent"},
	hostPaths:     []string{"host.name", "host.hostname", "host", "hostname", "Hostname", "Computer", "computer_name", "HOSTNAME", "_HOSTNAME"},
	timePaths:     []string{"timestamp", "@timestamp", "time", "ts", "_time", "date"},
	osPaths:       []string{"host.os.type", "host.os.platform", "host.os", "os", "platform"},
	productPaths:  []string{"product", "vendor"},
	classKeyPaths: []string{"service", "service.name"},
	mayHoldText:   true,
	classify: func(r *Reader, d *Event, os, service string) *Class {
		return r.declaredClass(d, declaration{os: normalizeOS(os), typ: cmp.Or(d.Type, r.fallbackType), product: d.product, service: service})
	},
}

// A declaration is what an event of no known format says about its logsources.
type declaration struct {
	os                    string // normalizeOS of it
	typ, product, service string
}

// Bounds of what a Reader keeps of declarations, which senders make up.
const (
	maxDeclaredClasses   = 1024
	maxDeclaredNameBytes = 128 // a longer name is none
)

// declarableCategories are the categories that events of known formats have too. An event
// that declares one as its event_type belongs to it, and to no service.
var declarableCategories = func() map[string]bool {
	set := map[string]bool{
		"file_access": true, "file_rename": true, "process_termination": true, "antivirus": true, "dns": true,
		"firewall": true, "proxy": true, "webserver": true, "database": true,
	}
	for _, of := range windowsEventCategories {
		for _, names := range of {
			for _, name := range names {
				set[name] = true
			}
		}
	}
	return set
}()

// declaredClass returns the class of an event by its declaration.
func (r *Reader) declaredClass(d *Event, of declaration) *Class {
	for _, name := range []*string{&of.typ, &of.product, &of.service} {
		if len(*name) > maxDeclaredNameBytes {
			*name = ""
		}
	}
	if declarableCategories[of.typ] || of == (declaration{os: of.os}) {
		return r.categoryClass(d.format, of.os, of.typ, of.typ)
	}
	if c, ok := r.declared[of]; ok {
		return c
	}
	if r.declared == nil || len(r.declared) >= maxDeclaredClasses {
		r.declared = make(map[declaration]*Class)
	}
	of.typ, of.product, of.service = strings.Clone(of.typ), strings.Clone(of.product), strings.Clone(of.service) // they may alias the event
	c := &Class{Type: of.typ, OS: of.os, Sources: of.sources()}
	r.declared[of] = c
	return c
}

// sources returns the logsources of an event: its type is both its category and its
// service, and it may name a service besides.
func (of declaration) sources() []sigma.LogSource {
	products := []string{of.product, of.os}
	if products = slices.DeleteFunc(products, func(p string) bool { return p == "" }); len(products) == 0 {
		products = []string{""}
	}
	var sources []sigma.LogSource
	for _, product := range slices.Compact(products) {
		sources = append(sources, sigma.LogSource{Product: product, Category: of.typ, Service: cmp.Or(of.typ, of.service)})
		if of.service != "" && of.service != of.typ {
			sources = append(sources, sigma.LogSource{Product: product, Category: of.typ, Service: of.service})
		}
	}
	return slices.Compact(sources)
}

// DeclarationHint says how an event of no known format declares a logsource.
func DeclarationHint(source sigma.LogSource) string {
	var parts []string
	add := func(field, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", field, value))
		}
	}
	add("event_type", cmp.Or(source.Category, source.Service))
	add("product", source.Product)
	if source.Category != "" && source.Service != source.Category {
		add("service", source.Service)
	}
	return "JSON events of your own have it with " + strings.Join(parts, ", ")
}

// Package ast declares the types of parsed Sigma documents: rules,
// correlations and filters, as their YAML files have them, with positions.
//
// [github.com/picket-edr/picket/sigma.Parse] makes them, package pipeline
// rewrites them, package lint checks them, and
// [github.com/picket-edr/picket/sigma.Compile] turns them into rules that can
// be matched.
package ast

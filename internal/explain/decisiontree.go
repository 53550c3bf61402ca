package explain

import (
	"fmt"
	"strings"
)

// The markers of the generated part of a document.
const (
	treeBegin = "<!-- decision tree: generated from internal/explain by make generate -->\n"
	treeEnd   = "<!-- end of the decision tree -->\n"
)

// byHand returns what to run for a step without the command explain, with the names of the docs,
// and the heading in docs/how-to/pods-do-not-start.md that goes on, or "".
func byHand(id StepID) (command, heading string) {
	const sidecar = "kubectl exec POD -n project -c istio-proxy -- pilot-agent request GET "
	switch id {
	case StepAnnotated:
		return "kubectl get pods -n project -o yaml | grep mtls.egress/", ""
	case StepAdmitted:
		return "kubectl get events -n project --field-selector=reason=FailedCreate", "2 What does FailedCreate say?"
	case StepSidecar:
		return "kubectl get namespace project --show-labels", "F No sidecar"
	case StepInterception:
		return "kubectl get pod POD -n project -o jsonpath='{.spec.initContainers[?(@.name==\"istio-init\")].args}'", ""
	case StepTarget:
		return "kubectl get egresstargets -n project", ""
	case StepCredential:
		return "mtls-egress-webhook credential inspect secret/external-system-mtls-data -n project",
			"E A Secret or ConfigMap is missing"
	case StepProgrammed, StepHandshake:
		return "kubectl describe egresstarget external.system.com -n project", ""
	case StepObjects:
		return "kubectl get virtualservices,destinationrules,serviceentries -n project", ""
	case StepStarted:
		return "kubectl describe pod POD -n project", "G The sidecar doesn't start"
	case StepConfigured:
		return "istioctl proxy-status POD.project", ""
	case StepCertificates:
		return sidecar + "certs", ""
	case StepDNS, StepApp:
		return sidecar + "clusters", ""
	case StepCalls:
		return "kubectl logs POD -n project -c istio-proxy", "4 How do calls fail?"
	}
	return "", ""
}

// DecisionTree returns the steps and the causes as a list in Markdown.
func DecisionTree() string {
	var text strings.Builder
	for n, s := range steps() {
		command, heading := byHand(s.id)
		fmt.Fprintf(&text, "%d. **%s**: %s By hand: `%s`\n", n+1, s.id, s.title, command)
		if heading != "" {
			anchor := strings.NewReplacer(" ", "-", "'", "", "?", "").Replace(strings.ToLower(heading))
			fmt.Fprintf(&text, "    More: [%s](../%s#%s)\n", heading, podPage, anchor)
		}
		for _, entry := range known() {
			if entry.step == s.id {
				fmt.Fprintf(&text, "    - [`%s`](../%s): %s\n", entry.cause, entry.place, entry.means)
			}
		}
		if reasons := reasonsOf(s.id); reasons != "" {
			fmt.Fprintf(&text, "    - %s: [what an EgressTarget says](../%s)\n", reasons, conditionPage)
		}
	}
	return text.String()
}

// reasonsOf names the reasons that a step takes from a condition, or is "".
func reasonsOf(id StepID) string {
	return map[StepID]string{
		StepCredential: "any other reason of `CredentialValid` or `CertificateIssued`",
		StepProgrammed: "any other reason of `Programmed` or `Conflicted`",
		StepHandshake:  "any other reason of `Verified`",
	}[id]
}

// ReplaceDecisionTree returns the document with the decision tree between its markers.
func ReplaceDecisionTree(document string) (string, error) {
	before, rest, begins := strings.Cut(document, treeBegin)
	_, after, ends := strings.Cut(rest, treeEnd)
	if !begins || !ends {
		return "", fmt.Errorf("the document lacks the marker %q or, below it, %q", strings.TrimSpace(treeBegin),
			strings.TrimSpace(treeEnd))
	}
	return before + treeBegin + "\n" + DecisionTree() + "\n" + treeEnd + after, nil
}

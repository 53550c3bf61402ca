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

// manual is what to do for a step without the command explain, with the names of the docs.
type manual struct {
	command string
	// read says what in the output is right and what is wrong, where the output doesn't.
	read string
	// heading is the one in docs/how-to/pods-do-not-start.md that goes on, or "".
	heading string
}

func byHand(id StepID) manual {
	const (
		sidecar = "kubectl exec POD -n project -c istio-proxy -- pilot-agent request GET "
		cluster = "external.system.com.mtls-egress.internal"
		inspect = "mtls-egress-webhook credential inspect secret/external-system-mtls-data -n project"
	)
	switch id {
	case StepAnnotated:
		return manual{command: "kubectl get pods -n project -o yaml | grep mtls.egress/"}
	case StepAdmitted:
		return manual{
			command: "kubectl get events -n project --field-selector=reason=FailedCreate",
			heading: "2 What does FailedCreate say?",
		}
	case StepSidecar:
		return manual{command: "kubectl get namespace project --show-labels", heading: "F No sidecar"}
	case StepInterception:
		return manual{
			command: "kubectl get pod POD -n project -o jsonpath='{.spec.initContainers[?(@.name==\"istio-init\")].args}'",
		}
	case StepTarget:
		return manual{command: "kubectl get egresstargets -n project"}
	case StepCredential:
		return manual{command: inspect, heading: "E A Secret or ConfigMap is missing"}
	case StepProgrammed:
		return manual{command: "kubectl describe egresstarget external.system.com -n project"}
	case StepObjects:
		return manual{command: "kubectl get virtualservices,destinationrules,serviceentries -n project"}
	case StepStarted:
		return manual{command: "kubectl describe pod POD -n project", heading: "G The sidecar doesn't start"}
	case StepConfigured:
		return manual{command: "istioctl proxy-status POD.project"}
	case StepCertificates:
		return manual{command: sidecar + "certs", read: "Right: a `serial_number` below `cert_chain` is that of the " +
			"certificate in the Secret, which step 6 prints. Wrong: none is."}
	case StepDNS:
		return manual{command: sidecar + "clusters", read: "Right: lines with `|mtls-egress|" + cluster + "::` go on with " +
			"the partner's address and port. Wrong: none of them has an address."}
	case StepHandshake:
		return manual{
			command: "kubectl describe egresstarget external.system.com -n project",
			read: "Right: the condition `Verified` is True. Wrong: it is False, and has the reason. If it is Unknown or not " +
				"there, nothing is known: by default (`controller.verifyTargets`), the controller makes no handshake.",
		}
	case StepApp:
		return manual{command: sidecar + "clusters", read: "Right: `rq_total` in the lines with `|mtls-egress|" + cluster +
			"::` grows with each call. Wrong: `cx_total` grows in those with `||" + cluster + "::`, as the app calls https. " +
			"Or a line begins with `PassthroughCluster::` and the host's address in `/etc/hosts`: the port behind that is the " +
			"one that the app calls."}
	case StepCalls:
		return manual{command: "kubectl logs POD -n project -c istio-proxy", heading: "4 How do calls fail?"}
	}
	return manual{}
}

// DecisionTree returns the steps and the causes as a list in Markdown.
func DecisionTree() string {
	var text strings.Builder
	for n, s := range steps() {
		by := byHand(s.id)
		fmt.Fprintf(&text, "%d. **%s**: %s By hand: `%s`\n", n+1, s.id, s.title, by.command)
		if by.read != "" {
			fmt.Fprintf(&text, "    %s\n", by.read)
		}
		if by.heading != "" {
			anchor := strings.NewReplacer(" ", "-", "'", "", "?", "").Replace(strings.ToLower(by.heading))
			fmt.Fprintf(&text, "    More: [%s](../%s#%s)\n", by.heading, podPage, anchor)
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

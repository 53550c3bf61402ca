{{- /*
Parts of webhooks, policies and roles for the kinds in the value workloads. Each kind has its own CEL
expression: a field can have another type in another kind, and a request whose expression fails is
rejected.
*/}}

{{- /* The rules that match all workloads. The dict has top, and operations; of immutable kinds only immutableOperations. */}}
{{- define "mtls-egress-webhook.workloadRules" -}}
{{- range $resource, $kind := .top.Values.workloads }}
{{- $named := splitn "." 2 $resource }}
- apiGroups: [{{ $named._1 | default "" | quote }}]
  apiVersions: ["*"]
  resources: [{{ $named._0 }}]
  operations: {{ ternary $.immutableOperations $.operations (get $kind "immutable" | default false) | toJson }}
  scope: Namespaced
{{- end }}
{{- end }}

{{- /* The permissions for all workloads. The dict has top, verbs, and what they are for. */}}
{{- define "mtls-egress-webhook.workloadRights" -}}
{{- range $resource, $kind := .top.Values.workloads }}
{{- $named := splitn "." 2 $resource }}
# {{ $.reason }}
- apiGroups: [{{ $named._1 | default "" | quote }}]
  resources: [{{ $named._0 }}]
  verbs: {{ $.verbs | toJson }}
{{- end }}
{{- end }}

{{- /* A CEL expression: the values at a path of the object o, as a list of optional values. */}}
{{- define "mtls-egress-webhook.valuesAt" -}}
{{- $halves := splitn "[*]." 2 . }}
{{- $head := printf "o.?%s" ($halves._0 | replace "." ".?") }}
{{- if $halves._1 -}}
(type({{ $head }}.orValue([])) == list ? {{ $head }}.orValue([]) : []).map(element, element.?{{ $halves._1 | replace "." ".?" }})
{{- else -}}
[{{ $head }}]
{{- end }}
{{- end }}

{{- /*
A CEL expression: the annotations of the Pods of the workload o, and of the Job templates in it, as a list of optional values. With
field: labels in the dict, their labels instead.
*/}}
{{- define "mtls-egress-webhook.ofPods" -}}
{{- $field := .field | default "annotations" }}
{{- range $resource, $kind := .top.Values.workloads }}
{{- $named := splitn "." 2 $resource }}
{{- $values := list }}
{{- range $kind.templates }}
{{- $values = append $values (include "mtls-egress-webhook.valuesAt" (printf "%s.metadata.%s" . $field)) }}
{{- if hasSuffix ".spec.template" . }}
{{- $values = append $values (include "mtls-egress-webhook.valuesAt" (printf "%s.metadata.%s" (trimSuffix ".spec.template" .) $field)) }}
{{- end }}
{{- end }}
{{- range $kind.annotations }}
{{- $values = append $values (include "mtls-egress-webhook.valuesAt" (printf "%s%s" (trimSuffix "annotations" .) $field)) }}
{{- end -}}
request.resource.group == '{{ $named._1 | default "" }}' && request.resource.resource == '{{ $named._0 }}' ? {{ join " + " $values }} :
{{ end -}}
[]
{{- end }}

{{- /*
A CEL expression: the parts of the workload o that have the annotations of its Pods, as a list of
annotations. Optional Pod templates that the workload doesn't have are left out.
*/}}
{{- define "mtls-egress-webhook.annotationsOfPods" -}}
{{- range $resource, $kind := .top.Values.workloads }}
{{- $named := splitn "." 2 $resource }}
{{- $values := list }}
{{- range $kind.templates }}
{{- $values = append $values (printf "(%s).filter(t, t.hasValue() && t.value() != null).map(t, t.?metadata.?annotations)" (include "mtls-egress-webhook.valuesAt" .)) }}
{{- end }}
{{- range $kind.annotations }}
{{- $values = append $values (include "mtls-egress-webhook.valuesAt" .) }}
{{- end -}}
request.resource.group == '{{ $named._1 | default "" }}' && request.resource.resource == '{{ $named._0 }}' ? {{ join " + " $values }} :
{{ end -}}
[]
{{- end }}

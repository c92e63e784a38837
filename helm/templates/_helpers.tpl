{{/* Names, labels and the parts of a pod that worker, relay, asr-server and migration have in common. */}}

{{- define "qa.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "qa.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "qa.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Takes a dict of root and component. */}}
{{- define "qa.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "qa.labels" -}}
{{ include "qa.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "qa.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
{{- end -}}

{{- define "qa.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "qa.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* One variable from the existing Secret; takes a dict of root, variable and key. */}}
{{- define "qa.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.existingSecret }}
      key: {{ .key }}
{{- end -}}

{{- define "qa.kafkaPassword" -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol -}}
{{ include "qa.secretVariable" (dict "root" . "variable" "QA_KAFKA_PASSWORD" "key" "kafka-password") }}
{{- end -}}
{{- end -}}

{{/* The recogniser's address: as given, else our own server, else none, which means the cloud. */}}
{{- define "qa.asrUrl" -}}
{{- if .Values.asr.url -}}
{{ .Values.asr.url }}
{{- else if .Values.asrServer.enabled -}}
{{ printf "%s://%s-asr-server:8000/api-ws/v1/realtime" (ternary "wss" "ws" (ne .Values.asrServer.tls.secret "")) (include "qa.fullname" .) }}
{{- end -}}
{{- end -}}

{{/* The probes; takes a dict of port (its name) and scheme. A part that does not get ready is not restarted. */}}
{{- define "qa.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* What a Deployment's pods begin with; takes a dict of root, component and part (its values). */}}
{{- define "qa.podMetadata" -}}
labels:
  {{- include "qa.labels" (dict "root" .root "component" .component) | nindent 2 }}
annotations:
  # New settings mean new pods.
  checksum/config: {{ include (print .root.Template.BasePath "/configmap.yaml") .root | sha256sum }}
  {{- with .part.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "qa.podSpec" -}}
serviceAccountName: {{ include "qa.serviceAccountName" .root }}
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ .part.terminationGracePeriodSeconds }}
securityContext:
  {{- include "qa.podSecurityContext" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "qa.selector" (dict "root" .root "component" .component) | nindent 8 }}
{{- end -}}
